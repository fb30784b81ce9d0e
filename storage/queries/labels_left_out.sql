-- What was detected and how often captions cite it, by label; the labels that are left out most come first
-- $captioner = null: only this captioner's captions; null: all
with shown as (
    select captions.caption_id, captions.captioner, detections.object_id, detections.label,
           exists (select 1 from mentions where mentions.caption_id = captions.caption_id
                   and list_contains(mentions.object_ids, detections.object_id)) as cited
    from captions join detections using (frame_id)
    where captions.error is null and captions.captioner = coalesce($captioner::varchar, captions.captioner)
)
select captioner, label, count(*) as detected, count(*) filter (cited) as cited,
       round(count(*) filter (cited) / count(*), 3) as share_cited
from shown
group by captioner, label
order by captioner, count(*) filter (not cited) desc, label
