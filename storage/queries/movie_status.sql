-- Every movie with its status, shots, frames and captions
select movies.title, movies.status, movies.error, round(movies.duration_seconds, 2) as duration_seconds,
       (select count(*) from shots where shots.movie_id = movies.movie_id) as shots,
       (select count(*) from frames where frames.movie_id = movies.movie_id) as frames,
       (select count(*) from captions_ok join frames using (frame_id) where frames.movie_id = movies.movie_id)
           as captions_ok,
       movies.movie_id, movies.path
from movies order by movies.title, movies.movie_id
