-- Frames on which two captioners disagree most: the share of the objects cited by either that both cite
-- $left = null: a captioner; null: the first by name
-- $right = null: another one; null: the next by name
-- $rows = 50: so many frames at most
with names as (select list(distinct captioner order by captioner) as all_names from captions),
pair as (
    select coalesce($left::varchar, list_filter(all_names, lambda one: one <> coalesce($right::varchar, ''))[1]) as first_name,
           all_names from names
),
two as (
    select first_name, coalesce($right::varchar, list_filter(all_names, lambda one: one <> first_name)[1]) as second_name
    from pair
),
first_captions as (
    select captions.*, verdicts.verdict,
           (select coalesce(list(distinct object_id order by object_id), [])
            from mentions, unnest(mentions.object_ids) as cited(object_id)
            where mentions.caption_id = captions.caption_id) as objects
    from captions left join verdicts using (caption_id)
    where captions.captioner in (select first_name from two union all select second_name from two)
    qualify row_number() over (partition by captions.frame_id, captions.captioner
                               order by captions.candidate, captions.attempt) = 1
)
select movies.title, round(frames.pts_seconds, 2) as at_seconds,
       round(len(list_intersect(a.objects, b.objects)) / nullif(len(list_distinct(a.objects || b.objects)), 0), 3)
           as agreement,
       list_sort(list_filter(a.objects, lambda one: not list_contains(b.objects, one))) as only_first,
       list_sort(list_filter(b.objects, lambda one: not list_contains(a.objects, one))) as only_second,
       a.captioner as first, b.captioner as second, a.verdict as first_verdict, b.verdict as second_verdict,
       a.plain_text as first_text, b.plain_text as second_text, frames.frame_id
from two join first_captions as a on a.captioner = two.first_name
join first_captions as b on b.captioner = two.second_name and b.frame_id = a.frame_id
join frames on frames.frame_id = a.frame_id left join movies using (movie_id)
where a.objects <> b.objects or a.verdict is distinct from b.verdict
order by agreement nulls last, frames.movie_id, frames.frame_index
limit $rows::bigint
