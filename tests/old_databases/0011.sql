-- What the tables of this revision hold.
INSERT INTO "peek" VALUES(1,1,'2026-11-22 06:00:00');
INSERT INTO "tag" VALUES(1,'Wrong facts',0);
