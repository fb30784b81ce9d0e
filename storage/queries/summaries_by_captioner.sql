-- The summary metrics that could be computed, a column per captioner (table summaries says why others could not)
pivot (select metric, captioner, round(value, 4) as value from summaries where "group" = 'all' and value is not null)
on captioner using first(value) group by metric order by metric
