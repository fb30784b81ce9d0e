-- The labels that captions cite most, per movie
with cited as (
    select frames.movie_id, regexp_replace(object_id, '-[0-9]+$', '') as label, frames.frame_id
    from (select frame_id, caption_id, unnest(mentions.object_ids) as object_id
          from captions_ok join mentions using (caption_id))
    join frames using (frame_id)
)
select movies.title, movie_id, label, count(*) as citations, count(distinct frame_id) as frames
from cited join movies using (movie_id)
group by movies.title, movie_id, label
qualify row_number() over (partition by movie_id order by count(*) desc, label) <= 10
order by movies.title, movie_id, citations desc, label
