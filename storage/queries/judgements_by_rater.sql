-- How each rater scores each captioner by each criterion: mean, how many captions, and how many got no score
select * from (
    select rater, rater_kind, split_part(caption_id, '/', 2) as captioner, criterion, round(avg(score), 3) as mean,
           count(score) as captions, count(*) filter (error is not null) as without_score
    from judgements
    group by all
)
order by rater, captioner, list_position(
    ['object_precision', 'grounding_recall', 'description_accuracy', 'language_quality', 'overall'], criterion)
