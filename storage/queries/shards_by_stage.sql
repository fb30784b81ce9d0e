-- Finished shards by stage and captioner: a stage with fewer than the one before it has work left
select stage, coalesce(captioner, '') as captioner, count(distinct (movie_id, shard)) as shards,
       sum(rows) filter ("table" in ('frames', 'detections', 'captions', 'verdicts', 'scores')) as rows
from files where stage in ('extract', 'detect', 'caption', 'check', 'score')
group by stage, captioner
order by list_position(['extract', 'detect', 'caption', 'check', 'score'], stage), captioner
