-- The caption of every frame that counts, in order of movie and time: verdict, what was done to it, and why it was chosen
select movies.title, round(frames.pts_seconds, 2) as at_seconds, chosen.chosen_of, chosen.plain_text, chosen.ok,
       chosen.verdict,
       case when len(chosen.repairs) > 0 then 'repaired' when chosen.attempt > 0 then 'regenerated' else '' end as mended,
       choices.selected_by, round(choices.value, 4) as value,
       (select count(*) from choices as others
        where others.captioner = chosen.chosen_of and others.frame_id = chosen.frame_id) as out_of,
       chosen.caption_id
from captions_chosen as chosen join choices on choices.captioner = chosen.chosen_of
     and choices.caption_id = chosen.caption_id
join frames on frames.frame_id = chosen.frame_id left join movies using (movie_id)
order by movies.title, frames.movie_id, frames.frame_index, chosen.chosen_of
