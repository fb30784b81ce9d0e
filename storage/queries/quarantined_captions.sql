-- Captions that are not in captions_ok, and why; 'replaced': another caption of the frame counts
select captions.caption_id, captions.captioner,
       case verdicts.verdict when 'ok' then 'stale' else coalesce(verdicts.verdict, 'not checked') end as verdict,
       verdicts.codes, captions.error, choices.rank > 0 as replaced,
       (select string_agg(message, '; ')
        from (select message from violations where violations.caption_id = captions.caption_id
              group by message order by min(violation_index) limit 3)) as first_messages,
       coalesce(captions.original_text, captions.text) as written
from captions left join verdicts using (caption_id)
left join choices on choices.caption_id = captions.caption_id and choices.captioner = captions.captioner
where captions.caption_id not in (select caption_id from captions_ok)
order by captions.caption_id
