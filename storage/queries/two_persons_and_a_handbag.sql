-- Frames where two persons and a handbag are cited and someone sits
with cited as (
    select captions.frame_id, captions.caption_id, mentions.kind, mentions.label, unnest(mentions.object_ids) as object_id
    from captions_ok as captions join mentions using (caption_id)
)
select frames.movie_id, frames.shot_index, frames.pts_seconds, frame_id, captions.captioner, captions.plain_text
from cited join captions_ok as captions using (caption_id, frame_id) join frames using (frame_id)
group by all
having count(distinct object_id) filter (regexp_matches(object_id, '^person-[0-9]+$')) >= 2
   and count(distinct object_id) filter (regexp_matches(object_id, '^handbag-[0-9]+$')) >= 1
   and count(*) filter (kind = 'action' and regexp_full_match(label, 'sit|sits|sat|sitting|seat|seated')) >= 1
order by frames.movie_id, frames.pts_seconds, captions.captioner
