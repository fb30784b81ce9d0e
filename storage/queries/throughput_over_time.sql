-- What each stage did in every stretch of time: rows, frames, tokens, and rows in a second of work
-- $every = "1 hour": how long a stretch is, as DuckDB writes an interval: 1 minute, 1 hour, 1 day
-- $stage = null: only this stage; null: all
select time_bucket($every::interval, started_at::timestamptz::timestamp) as from_utc, stage, captioner,
       count(*) as shards, sum(rows)::bigint as rows, sum(frames)::bigint as frames,
       sum(prompt_tokens + tokens)::bigint as tokens, round(sum(seconds), 2) as seconds,
       round(sum(rows) / nullif(sum(seconds), 0), 1) as rows_s
from stage_runs
where stage = coalesce($stage::varchar, stage)
group by from_utc, stage, captioner
order by from_utc, min(started_at), stage, captioner
