-- Shards by stage and captioner: done, stale (made from files that are gone), missing (frames are there, this is not)
with stages as (select unnest(['extract', 'detect', 'caption', 'mend', 'check', 'choose', 'score']) as stage,
                       unnest(range(7)) as place),
work as (
    select case when stage = 'import' and "table" = 'frames' then 'extract'  -- brought along, so nobody has to make them
                when stage = 'import' and "table" = 'detections' then 'detect' else stage end as stage,
           coalesce(captioner, '') as captioner, movie_id, shard, rows,
           exists (select 1 from (select unnest(files.inputs) as input)
                   where regexp_full_match(input, '[0-9a-f]{32}')
                     and input not in (select fingerprint from files)) as stale
    from files
    where "table" in ('frames', 'detections', 'captions', 'verdicts', 'choices')
       or ("table" = 'scores' and stage = 'score')
),
wanted as (select count(distinct (movie_id, shard)) as shards from work where stage = 'extract'),
captioners as (select distinct captioner from work where captioner <> '' and not contains(captioner, '+')),
cells as (select stage, place, '' as captioner from stages where place < 2
          union all select stage, place, captioner from stages, captioners where place >= 2)
select cells.stage, cells.captioner, count(work.shard) filter (not stale) as done,
       count(work.shard) filter (stale) as stale, any_value(wanted.shards) - count(work.shard) as missing,
       coalesce(sum(work.rows), 0)::bigint as rows
from cells cross join wanted left join work on work.stage = cells.stage and work.captioner = cells.captioner
group by cells.stage, cells.place, cells.captioner
order by cells.place, cells.captioner
