-- Captions by captioner: ok, with violations, failed, not checked yet, stale (checked against files that are gone)
select captioner, count(*) as captions,
       count(*) filter (caption_id in (select caption_id from captions_ok)) as ok,
       count(*) filter (verdicts.verdict = 'violations') as violations,
       count(*) filter (verdicts.verdict = 'failed') as failed,
       count(*) filter (verdicts.verdict is null) as not_checked,
       count(*) filter (verdicts.verdict = 'ok' and caption_id not in (select caption_id from captions_ok)) as stale,
       round(avg(completion_tokens), 1) as mean_tokens
from captions left join verdicts using (caption_id)
group by captioner order by captioner
