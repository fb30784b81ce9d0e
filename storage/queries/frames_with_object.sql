-- Frames in which objects of a label were detected, and by which captioners they are cited
-- $label = "person": the objects' label, such as person, dog or wall
-- $at_least = 1: how many of them there are in the frame at least
-- $captioner = null: only what this captioner cites; null: all
with cited as (
    select captions.frame_id, captions.captioner, unnest(mentions.object_ids) as object_id
    from captions join mentions using (caption_id)
    where captions.captioner = coalesce($captioner::varchar, captions.captioner)
)
select movies.title, round(frames.pts_seconds, 2) as at_seconds, frames.shot_index,
       count(distinct detections.object_id) as objects, round(max(detections.score), 3) as best_score,
       count(distinct cited.object_id) as cited,
       coalesce(list(distinct cited.captioner order by cited.captioner)
                filter (cited.captioner is not null), []) as cited_by, frames.frame_id
from detections join frames using (frame_id) left join movies using (movie_id)
left join cited on cited.frame_id = detections.frame_id and cited.object_id = detections.object_id
where detections.label = $label::varchar
group by movies.title, frames.movie_id, frames.frame_index, frames.frame_id, frames.pts_seconds, frames.shot_index
having objects >= $at_least::bigint
order by movies.title, frames.movie_id, frames.frame_index
