-- Captions by captioner, all candidates: ok, with violations, failed, not checked, stale (files are gone), mended, chosen
select captioner, count(*) as captions,
       count(*) filter (caption_id in (select caption_id from captions_ok)) as ok,
       count(*) filter (verdicts.verdict = 'violations') as violations,
       count(*) filter (verdicts.verdict = 'failed') as failed,
       count(*) filter (verdicts.verdict is null) as not_checked,
       count(*) filter (verdicts.verdict = 'ok' and caption_id not in (select caption_id from captions_ok)) as stale,
       count(*) filter (captions.mended_from is not null) as mended,
       count(*) filter (choices.chosen) as chosen,
       round(avg(completion_tokens), 1) as mean_tokens
from captions left join verdicts using (caption_id)
left join (select caption_id, chosen from choices where not contains(captioner, '+')) as choices using (caption_id)
group by captioner order by captioner
