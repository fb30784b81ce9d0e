-- Where a caption came from: movie, frame, models, prompt, configuration, code
select captions.caption_id, movies.title, movies.path as movie_path, movies.sha256 as movie_sha256,
       frames.pts_seconds, captions.checkpoint, captions.adapter, captions.prompt_template, captions.prompt_digest,
       captions.seed, captions.finish_reason, verdicts.verdict, files.path as captions_file, files.fingerprint,
       files.config as caption_config, files.weights, detections.config as detect_config,
       detections.weights as detector_weights, files.code_version
from captions
join frames using (frame_id) left join movies using (movie_id) left join verdicts using (caption_id)
left join files on files."table" = 'captions' and files.captioner = captions.captioner
     and files.movie_id = frames.movie_id and files.fingerprint = verdicts.captions_fingerprint
left join files as detections on detections."table" = 'detections' and detections.movie_id = frames.movie_id
     and detections.fingerprint = verdicts.detections_fingerprint
where captions.caption_id = $caption_id
