-- What each stage and captioner does in a second of work, over all runs: rows, frames, prompt tokens read, tokens written
-- A captioner's seconds are those of asking it, loading its model left out; waiting_s of them it waited for pictures.
with work as (
    select *, if(asking_seconds > 0, asking_seconds, seconds) as work_seconds from stage_runs
)
select stage, captioner, sum(rows)::bigint as rows, round(sum(work_seconds), 2) as seconds,
       round(sum(rows) / nullif(sum(work_seconds), 0), 1) as rows_s,
       round(nullif(sum(frames), 0) / nullif(sum(work_seconds), 0), 1) as frames_s,
       round(nullif(sum(prompt_tokens), 0) / nullif(sum(work_seconds), 0), 1) as read_s,
       round(nullif(sum(tokens), 0) / nullif(sum(work_seconds), 0), 1) as written_s,
       round(sum(waiting_seconds), 2) as waiting_s
from work
group by stage, captioner
order by min(started_at)
