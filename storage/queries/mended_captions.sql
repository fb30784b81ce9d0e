-- Captions that were made to replace one at fault: what was done, the faults before and after, both texts
select mended.caption_id, mended.captioner,
       case when len(mended.repairs) > 0 then 'repaired' else 'regenerated' end as how, mended.repairs,
       mended.temperature, mended.decoding, mended.seed, before.codes as codes_before, after.verdict as verdict_after,
       after.codes as codes_after, coalesce(choices.chosen, false) as chosen, first.text as text_before,
       mended.text as text_after
from captions as mended join captions as first on first.caption_id = mended.mended_from
left join verdicts as before on before.caption_id = first.caption_id
left join verdicts as after on after.caption_id = mended.caption_id
left join choices on choices.caption_id = mended.caption_id and choices.captioner = mended.captioner
order by mended.captioner, mended.mended_from, mended.attempt
