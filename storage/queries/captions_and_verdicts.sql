-- Captions in order of movie and time, with verdict and grounding F1
select movies.title, round(frames.pts_seconds, 2) as at_seconds, captions.captioner, captions.plain_text,
       verdicts.verdict, verdicts.violations, choices.chosen,
       round(scores.value, 3) as grounding_f1_cited,
       captions.caption_id
from captions join frames using (frame_id) left join movies using (movie_id) left join verdicts using (caption_id)
left join choices on choices.caption_id = captions.caption_id and choices.captioner = captions.captioner
left join scores on scores.caption_id = captions.caption_id and scores.metric = 'grounding_f1_cited'
order by movies.title, frames.movie_id, frames.frame_index, captions.captioner, captions.candidate,
         captions.attempt
