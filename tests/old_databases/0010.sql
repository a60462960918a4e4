-- What the tables of this revision hold.
INSERT INTO "companion" VALUES(1,1);
INSERT INTO "learning_curve" VALUES(1,1,1,1,'2026-11-22 02:00:00');
INSERT INTO "thumb" (id, snapshot_id, split, prompt_id, response_id, up, ranking_id) VALUES(1,1,'TRAIN',1,1,1,1);
INSERT INTO "training_sample" VALUES(1,1,0,1,'Sorry, it is on its way.',8,1);
INSERT INTO "training_warning" VALUES(1,1,'SHORT','Replies grew shorter.');
INSERT INTO "timing" (id, project_id, snapshot_id, recipe_id, base_model_id, requested_by_id, status, cancel_requested,
  attempt, stage, done, total, created_at)
  VALUES(1,1,1,1,1,1,'CANCELLED',1,0,'',0,0,'2026-11-22 02:00:00');
