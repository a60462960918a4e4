-- What the tables of this revision hold.
INSERT INTO "change" VALUES(1,1,1,1,1,'correction','1',NULL,'{"text": "Sorry."}','2026-11-21 20:00:00');
INSERT INTO "draft" VALUES(1,1,1,1,NULL,'Sorry about','2026-11-21 20:00:00');
INSERT INTO "reveal" VALUES(1,1,'2026-11-21 20:00:00');
