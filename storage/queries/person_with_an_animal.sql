-- Frames where a person and an animal are cited, and what is done there
with cited as (
    select captions.frame_id, captions.caption_id, captions.captioner, captions.plain_text, mentions.kind,
           mentions.label, unnest(mentions.object_ids) as object_id
    from captions_ok as captions join mentions using (caption_id)
),
found as (
    select frame_id, caption_id, captioner, plain_text,
           list(distinct object_id order by object_id) filter (starts_with(object_id, 'person-')) as persons,
           list(distinct object_id order by object_id) filter (regexp_full_match(object_id,
               '(bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe)-[0-9]+')) as animals,
           list(distinct label order by label) filter (kind = 'action') as actions
    from cited group by all
)
select round(frames.pts_seconds, 2) as at_seconds, found.captioner, found.persons, found.animals, found.actions,
       found.plain_text, found.frame_id
from found join frames using (frame_id)
where len(found.persons) >= 1 and len(found.animals) >= 1
order by frames.movie_id, frames.pts_seconds, found.captioner, found.caption_id
