-- Movies of which frames or captions failed: how many of how many, and the most frequent reason
with failed as (
    select frames.movie_id, 'caption by ' || captions.captioner as what, captions.error,
           (select count(*) from captions as every join frames as own using (frame_id)
            where own.movie_id = frames.movie_id and every.captioner = captions.captioner) as out_of
    from captions join frames using (frame_id) where captions.error is not null
    union all
    select frames.movie_id, failures.stage, failures.error,
           (select count(*) from frames as own where own.movie_id = frames.movie_id)
    from failures join frames using (frame_id)
    union all
    select movie_id, 'movie', coalesce(error, status), 1 from movies where status <> 'ok'
)
select movies.title, failed.what, count(*) as failed, any_value(failed.out_of) as out_of, mode(failed.error) as reason,
       count(distinct failed.error) as reasons, failed.movie_id
from failed left join movies using (movie_id)
group by movies.title, failed.movie_id, failed.what
order by failed desc, movies.title, failed.movie_id, failed.what
