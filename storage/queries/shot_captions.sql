-- The captions of one shot in order of time, with their verdicts
select frames.pts_seconds, frames.frame_index, captions.captioner, captions.candidate, verdicts.verdict,
       captions.plain_text, captions.text, captions.error
from captions join frames using (frame_id) left join verdicts using (caption_id)
where frames.movie_id = $movie_id and frames.shot_index = $shot_index
order by captions.captioner, frames.pts_seconds, captions.candidate
