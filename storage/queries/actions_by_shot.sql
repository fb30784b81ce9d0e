-- What is done in each shot, and by whom, as captions in captions_ok say
-- $movie_id = null: only of this movie; null: of all
-- $captioner = null: only what this captioner says; null: all
select movies.title, frames.shot_index, captions.captioner, mentions.label as action,
       list(distinct object_id order by object_id) as by_whom, count(distinct frames.frame_id) as frames,
       round(min(frames.pts_seconds), 2) as first_seconds, round(max(frames.pts_seconds), 2) as last_seconds,
       frames.movie_id
from captions_ok as captions join mentions using (caption_id) join frames using (frame_id)
left join movies using (movie_id), unnest(mentions.object_ids) as cited(object_id)
where mentions.kind = 'action' and frames.movie_id = coalesce($movie_id::varchar, frames.movie_id)
  and captions.captioner = coalesce($captioner::varchar, captions.captioner)
group by movies.title, frames.movie_id, frames.shot_index, captions.captioner, mentions.label
order by movies.title, frames.movie_id, frames.shot_index, captions.captioner, frames desc, action
