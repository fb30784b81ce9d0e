-- The captions with the lowest value of a metric, worst first
-- $metric = "grounding_f1_cited": a metric of single captions, as docs/metrics.md lists them
-- $captioner = null: only of this captioner; null: of all
-- $rows = 20: so many at most
select scores.value, captions.captioner, movies.title, round(frames.pts_seconds, 2) as at_seconds, verdicts.verdict,
       captions.plain_text, captions.caption_id
from scores join captions using (caption_id) join frames using (frame_id) left join movies using (movie_id)
left join verdicts using (caption_id)
where scores.metric = $metric::varchar and captions.captioner = coalesce($captioner::varchar, captions.captioner)
order by scores.value, captions.caption_id
limit $rows::bigint
