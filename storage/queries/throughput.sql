-- Throughput by stage and captioner over all runs: rows, frames, prompt and output tokens a second, and waiting
-- A captioner's seconds are those of asking it; loading its model is left out.
with work as (
    select *, if(asking_seconds > 0, asking_seconds, seconds) as work_seconds from stage_runs
)
select stage, captioner, count(*) as shards, sum(rows)::bigint as rows, round(sum(work_seconds), 2) as seconds,
       round(sum(rows) / nullif(sum(work_seconds), 0), 2) as rows_per_second,
       round(nullif(sum(frames), 0) / nullif(sum(work_seconds), 0), 2) as frames_per_second,
       round(sum(prompt_tokens) / nullif(sum(work_seconds), 0), 1) as prompt_tokens_per_second,
       round(sum(tokens) / nullif(sum(work_seconds), 0), 1) as output_tokens_per_second,
       round(sum(waiting_seconds), 2) as waiting_seconds
from work
group by stage, captioner
order by min(started_at)
