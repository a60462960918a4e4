-- What the tables of this revision hold.
INSERT INTO "assertion" (id, project_id, name, claim, value, created_by_id, created_at)
  VALUES(1,1,'Says sorry','CONTAINS','sorry',1,'2026-11-22 00:00:00');
INSERT INTO "assertion_result" (assertion_id, response_id, passed, detail, created_at)
  VALUES(1,1,0,'It lacks “sorry”.','2026-11-22 00:00:00');
INSERT INTO "parity_check" (id, project_id, model_version_id, status, cancel_requested, attempt, stage, done, total, created_at)
  VALUES(1,1,1,'CANCELLED',1,0,'',0,0,'2026-11-22 00:00:00');
INSERT INTO "text_rule" (id, project_id, part, replacement, created_by_id, created_at)
  VALUES(1,1,'GREETING_NAME','[name]',1,'2026-11-22 00:00:00');
INSERT INTO "example" VALUES(1,1,'Where is it?','On its way.');
INSERT INTO "routing_rule" (id, project_id, reason, pattern, created_by_id, created_at)
  VALUES(1,1,'The law','solicitor',1,'2026-11-22 00:00:00');
INSERT INTO "trial_prompt" VALUES(1,1);
