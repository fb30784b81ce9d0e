-- Every summary metric, a column per captioner
pivot (select metric, captioner, coalesce(round(value, 4)::varchar, reason) as value from summaries where "group" = 'all')
on captioner using first(value) group by metric order by metric
