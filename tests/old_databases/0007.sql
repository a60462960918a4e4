-- What the tables of this revision hold.
INSERT INTO "flag" VALUES(1,1,1,'Cut off.','2026-11-21 18:00:00',NULL,NULL);
