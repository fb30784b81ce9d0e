-- Throughput by stage and captioner over all runs: rows, tokens and seconds of work
select stage, captioner, count(*) as shards, sum(rows)::bigint as rows, round(sum(seconds), 2) as seconds,
       round(sum(rows) / nullif(sum(seconds), 0), 2) as rows_per_second,
       round(sum(tokens) / nullif(sum(seconds), 0), 1) as tokens_per_second
from stage_runs
group by stage, captioner
order by min(started_at)
