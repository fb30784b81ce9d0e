-- Everything that is left out, one row for each reason: movies, frames, captions, with a code and what was wrong
with counted as (
    select captions.*, verdicts.verdict
    from captions left join verdicts using (caption_id)
    left join choices on choices.caption_id = captions.caption_id and choices.captioner = captions.captioner
    where coalesce(choices.rank = 0, captions.attempt = 0)
      and captions.caption_id not in (select caption_id from captions_ok)
)
select 'movie' as what, status as code, movie_id, title, null as captioner, null as frame_id, null as caption_id,
       coalesce(error, status) as reason
from movies where status <> 'ok'
union all
select 'frame', 'failed at ' || failures.stage, frames.movie_id, title, null, failures.frame_id, null, failures.error
from failures join frames using (frame_id) left join movies using (movie_id)
union all
select 'caption', coalesce(violations.code, case verdict when 'ok' then 'stale' else verdict end, 'not checked'),
       frames.movie_id, any_value(title), counted.captioner, counted.frame_id, counted.caption_id,
       coalesce(any_value(counted.error), arg_min(violations.message, violation_index),
                case when verdict is null then 'It is not checked yet. Run again.'
                     else 'Its verdict was about other captions or detections. Run again.' end)
from counted join frames using (frame_id) left join movies using (movie_id)
left join violations using (caption_id)
group by counted.caption_id, counted.captioner, counted.frame_id, frames.movie_id, verdict, violations.code
order by case what when 'movie' then 0 when 'frame' then 1 else 2 end, title, movie_id, frame_id, caption_id, code
