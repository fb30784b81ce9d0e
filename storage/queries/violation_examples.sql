-- Captions with a fault, by its code: what is wrong, and the piece of text it is about
-- $code = null: a code of docs/violations.md; null: all
-- $captioner = null: only of this captioner; null: of all
-- $rows = 20: so many of each code at most
select violations.code, captions.captioner, violations.object_id, violations.message,
       substr(captions.text, violations.start + 1, violations."end" - violations.start) as piece, captions.caption_id
from violations join captions using (caption_id)
where violations.code = coalesce($code::varchar, violations.code)
  and captions.captioner = coalesce($captioner::varchar, captions.captioner)
qualify row_number() over (partition by violations.code order by captions.caption_id, violations.violation_index)
        <= $rows::bigint
order by violations.code, captions.caption_id, violations.violation_index
