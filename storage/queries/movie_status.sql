-- Every movie with its status, shots, frames and captions; 'not finished': decoding was stopped, run again
with ids as (select movie_id from movies union select movie_id from frames)
select coalesce(movies.title, movie_id) as title, coalesce(movies.status, 'not finished') as status, movies.error,
       round(movies.duration_seconds, 2) as duration_seconds,
       (select count(*) from shots where shots.movie_id = ids.movie_id) as shots,
       (select count(*) from frames where frames.movie_id = ids.movie_id) as frames,
       (select count(*) from captions_ok join frames using (frame_id) where frames.movie_id = ids.movie_id)
           as captions_ok,
       movie_id, movies.path
from ids left join movies using (movie_id)
order by title, movie_id
