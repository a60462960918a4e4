-- What later tables hold, added to 0001.sql once it is brought to this revision.
INSERT INTO "chip" VALUES(1,'Warm',1);
INSERT INTO "criterion" VALUES(1,1,'Tone',0,NULL);
INSERT INTO "criterion_choice" VALUES(1,1,NULL);
INSERT INTO "lease" VALUES(1,1,'2026-11-21 18:00:00');
