-- Violations by code and captioner, with how many per thousand captions
with counted as (select captioner, count(*) as captions from captions group by captioner)
select captions.captioner, violations.code, count(*) as violations,
       count(distinct violations.caption_id) as captions_at_fault,
       round(1000.0 * count(*) / any_value(counted.captions), 1) as per_thousand_captions
from violations join captions using (caption_id) join counted using (captioner)
group by captions.captioner, violations.code
order by captions.captioner, violations desc, violations.code
