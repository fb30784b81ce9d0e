-- The summary metrics that could be computed, a column per captioner; first, how many captions count, and cite nothing
with cited as (select distinct caption_id from mentions where len(object_ids) > 0),
counted as (
    select * from captions
    where captioner not in (select captioner from choices)
       or exists (select 1 from choices where choices.caption_id = captions.caption_id and rank = 0
                  and choices.captioner = captions.captioner)
),
counts as (
    select captioner, count(*) as captions,
           count(*) filter (error is null and caption_id not in (select caption_id from cited)) as citing_nothing
    from counted group by captioner
),
summed as (
    select 0 as place, 'captions' as metric, captioner, captions::double as value from counts
    union all select 1, 'captions_citing_nothing', captioner, citing_nothing from counts
    union all select 2, metric, captioner, round(value, 4) from summaries where "group" = 'all' and value is not null
)
select * exclude (place)
from (pivot summed on captioner using first(value) group by place, metric)
order by place, metric
