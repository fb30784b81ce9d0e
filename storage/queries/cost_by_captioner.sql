-- What captions cost, over all runs: tokens read and written, seconds of asking the captioner, and both for 1,000 captions
-- Captions that were asked for again (mend) are counted with the captioner they are of.
select captioner, sum(rows)::bigint as captions, sum(prompt_tokens)::bigint as tokens_read,
       sum(tokens)::bigint as tokens_written, round(sum(if(asking_seconds > 0, asking_seconds, seconds)), 2) as seconds,
       round(1000.0 * sum(prompt_tokens) / nullif(sum(rows), 0)) as read_per_1000,
       round(1000.0 * sum(tokens) / nullif(sum(rows), 0)) as written_per_1000,
       round(1000.0 * sum(if(asking_seconds > 0, asking_seconds, seconds)) / nullif(sum(rows), 0), 1)
           as seconds_per_1000
from stage_runs
where stage in ('caption', 'mend')
group by captioner
order by captioner
