BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
CREATE TABLE chip (
	ranking_id INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	praise BOOLEAN NOT NULL, 
	CONSTRAINT pk_chip PRIMARY KEY (ranking_id, label), 
	CONSTRAINT fk_chip_ranking_id FOREIGN KEY(ranking_id) REFERENCES ranking (id)
);
INSERT INTO "chip" VALUES(1,'Warm',1);
CREATE TABLE comparison (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	prompt_id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_comparison PRIMARY KEY (id), 
	CONSTRAINT fk_comparison_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT fk_comparison_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompt (id), 
	CONSTRAINT uq_comparison_project_id_key UNIQUE (project_id, "key")
);
INSERT INTO "comparison" VALUES(1,1,1,'1,2','2026-11-21 15:44:28.270086');
INSERT INTO "comparison" VALUES(2,1,2,'3,4','2026-11-21 15:44:28.274554');
INSERT INTO "comparison" VALUES(3,1,3,'5,6','2026-11-21 15:44:28.276925');
INSERT INTO "comparison" VALUES(4,1,4,'7,8','2026-11-21 15:44:28.278884');
INSERT INTO "comparison" VALUES(5,1,5,'9,10','2026-11-21 15:44:28.280808');
INSERT INTO "comparison" VALUES(6,1,6,'11,12','2026-11-21 15:44:28.282575');
INSERT INTO "comparison" VALUES(7,1,7,'13,14','2026-11-21 15:44:28.284802');
INSERT INTO "comparison" VALUES(8,1,8,'15,16','2026-11-21 15:44:28.286883');
INSERT INTO "comparison" VALUES(9,1,9,'17,18','2026-11-21 15:44:28.288932');
INSERT INTO "comparison" VALUES(10,1,10,'19,20','2026-11-21 15:44:28.290839');
INSERT INTO "comparison" VALUES(11,1,11,'21,22','2026-11-21 15:44:28.292788');
INSERT INTO "comparison" VALUES(12,1,12,'23,24','2026-11-21 15:44:28.294823');
INSERT INTO "comparison" VALUES(13,1,1,'39,40','2026-11-21 15:44:29.516406');
INSERT INTO "comparison" VALUES(14,1,2,'41,42','2026-11-21 15:44:29.516411');
INSERT INTO "comparison" VALUES(15,1,3,'47,48','2026-11-21 15:44:29.516412');
INSERT INTO "comparison" VALUES(16,1,4,'43,44','2026-11-21 15:44:29.516413');
INSERT INTO "comparison" VALUES(17,1,5,'45,46','2026-11-21 15:44:29.516413');
INSERT INTO "comparison" VALUES(18,1,6,'49,50','2026-11-21 15:44:29.516413');
INSERT INTO "comparison" VALUES(19,1,7,'51,52','2026-11-21 15:44:29.516414');
INSERT INTO "comparison" VALUES(20,1,8,'53,54','2026-11-21 15:44:29.516414');
INSERT INTO "comparison" VALUES(21,1,9,'55,56','2026-11-21 15:44:29.516415');
INSERT INTO "comparison" VALUES(22,1,10,'57,58','2026-11-21 15:44:29.516415');
INSERT INTO "comparison" VALUES(23,1,11,'59,60','2026-11-21 15:44:29.516416');
INSERT INTO "comparison" VALUES(24,1,12,'33,34','2026-11-21 15:44:29.516416');
CREATE TABLE comparison_response (
	comparison_id INTEGER NOT NULL, 
	response_id INTEGER NOT NULL, 
	CONSTRAINT pk_comparison_response PRIMARY KEY (comparison_id, response_id), 
	CONSTRAINT fk_comparison_response_comparison_id FOREIGN KEY(comparison_id) REFERENCES comparison (id), 
	CONSTRAINT fk_comparison_response_response_id FOREIGN KEY(response_id) REFERENCES response (id)
);
INSERT INTO "comparison_response" VALUES(1,1);
INSERT INTO "comparison_response" VALUES(1,2);
INSERT INTO "comparison_response" VALUES(2,3);
INSERT INTO "comparison_response" VALUES(2,4);
INSERT INTO "comparison_response" VALUES(3,5);
INSERT INTO "comparison_response" VALUES(3,6);
INSERT INTO "comparison_response" VALUES(4,7);
INSERT INTO "comparison_response" VALUES(4,8);
INSERT INTO "comparison_response" VALUES(5,9);
INSERT INTO "comparison_response" VALUES(5,10);
INSERT INTO "comparison_response" VALUES(6,11);
INSERT INTO "comparison_response" VALUES(6,12);
INSERT INTO "comparison_response" VALUES(7,13);
INSERT INTO "comparison_response" VALUES(7,14);
INSERT INTO "comparison_response" VALUES(8,15);
INSERT INTO "comparison_response" VALUES(8,16);
INSERT INTO "comparison_response" VALUES(9,17);
INSERT INTO "comparison_response" VALUES(9,18);
INSERT INTO "comparison_response" VALUES(10,19);
INSERT INTO "comparison_response" VALUES(10,20);
INSERT INTO "comparison_response" VALUES(11,21);
INSERT INTO "comparison_response" VALUES(11,22);
INSERT INTO "comparison_response" VALUES(12,23);
INSERT INTO "comparison_response" VALUES(12,24);
INSERT INTO "comparison_response" VALUES(13,39);
INSERT INTO "comparison_response" VALUES(13,40);
INSERT INTO "comparison_response" VALUES(14,41);
INSERT INTO "comparison_response" VALUES(14,42);
INSERT INTO "comparison_response" VALUES(15,47);
INSERT INTO "comparison_response" VALUES(15,48);
INSERT INTO "comparison_response" VALUES(16,43);
INSERT INTO "comparison_response" VALUES(16,44);
INSERT INTO "comparison_response" VALUES(17,45);
INSERT INTO "comparison_response" VALUES(17,46);
INSERT INTO "comparison_response" VALUES(18,49);
INSERT INTO "comparison_response" VALUES(18,50);
INSERT INTO "comparison_response" VALUES(19,51);
INSERT INTO "comparison_response" VALUES(19,52);
INSERT INTO "comparison_response" VALUES(20,53);
INSERT INTO "comparison_response" VALUES(20,54);
INSERT INTO "comparison_response" VALUES(21,55);
INSERT INTO "comparison_response" VALUES(21,56);
INSERT INTO "comparison_response" VALUES(22,57);
INSERT INTO "comparison_response" VALUES(22,58);
INSERT INTO "comparison_response" VALUES(23,59);
INSERT INTO "comparison_response" VALUES(23,60);
INSERT INTO "comparison_response" VALUES(24,33);
INSERT INTO "comparison_response" VALUES(24,34);
CREATE TABLE correction (
	id INTEGER NOT NULL, 
	response_id INTEGER NOT NULL, 
	reviewer_id INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	reason TEXT, 
	created_at DATETIME NOT NULL, 
	undone_at DATETIME, 
	CONSTRAINT pk_correction PRIMARY KEY (id), 
	CONSTRAINT ck_correction_not_empty CHECK (trim(text) <> ''), 
	CONSTRAINT fk_correction_response_id FOREIGN KEY(response_id) REFERENCES response (id), 
	CONSTRAINT fk_correction_reviewer_id FOREIGN KEY(reviewer_id) REFERENCES reviewer (id)
);
INSERT INTO "correction" VALUES(1,41,1,'I am sorry. It left today, and comes tomorrow.','says when','2026-11-21 15:44:29.550242',NULL);
CREATE TABLE criterion (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	retired_at DATETIME, 
	CONSTRAINT pk_criterion PRIMARY KEY (id), 
	CONSTRAINT ck_criterion_named CHECK (trim(name) <> ''), 
	CONSTRAINT fk_criterion_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT uq_criterion_project_id_name UNIQUE (project_id, name)
);
INSERT INTO "criterion" VALUES(1,1,'Tone',0,NULL);
CREATE TABLE criterion_choice (
	ranking_id INTEGER NOT NULL, 
	criterion_id INTEGER NOT NULL, 
	better_id INTEGER, 
	CONSTRAINT pk_criterion_choice PRIMARY KEY (ranking_id, criterion_id), 
	CONSTRAINT fk_criterion_choice_better_id FOREIGN KEY(better_id) REFERENCES response (id), 
	CONSTRAINT fk_criterion_choice_criterion_id FOREIGN KEY(criterion_id) REFERENCES criterion (id), 
	CONSTRAINT fk_criterion_choice_ranking_id FOREIGN KEY(ranking_id) REFERENCES ranking (id)
);
INSERT INTO "criterion_choice" VALUES(1,1,NULL);
CREATE TABLE evaluation (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	candidate_id INTEGER NOT NULL, 
	seed INTEGER NOT NULL, 
	protocol_sha256 TEXT NOT NULL, 
	created_by_id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	closed_at DATETIME, 
	CONSTRAINT pk_evaluation PRIMARY KEY (id), 
	CONSTRAINT fk_evaluation_candidate_id FOREIGN KEY(candidate_id) REFERENCES responder (id), 
	CONSTRAINT fk_evaluation_created_by_id FOREIGN KEY(created_by_id) REFERENCES reviewer (id), 
	CONSTRAINT fk_evaluation_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT uq_evaluation_project_id_name UNIQUE (project_id, name)
);
INSERT INTO "evaluation" VALUES(1,1,'First',3,1,'03be54bd749ba0175251515749bb64400dcf85034c3e7a7f0d18b1997d5eadfa',1,'2026-11-21 15:44:29.594624','2026-11-21 15:44:29.638917');
CREATE TABLE generation_run (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	responder_id INTEGER NOT NULL, 
	scope VARCHAR(20) NOT NULL, 
	samples INTEGER NOT NULL, 
	prompt_limit INTEGER, 
	seed INTEGER NOT NULL, 
	tokens INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	requested_by_id INTEGER NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	cancel_requested BOOLEAN NOT NULL, 
	attempt INTEGER NOT NULL, 
	worker TEXT, 
	process_group INTEGER, 
	process_started DOUBLE, 
	boot_id TEXT, 
	beat_at DATETIME, 
	stage TEXT NOT NULL, 
	done INTEGER NOT NULL, 
	total INTEGER NOT NULL, 
	error TEXT, 
	created_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, problem TEXT, 
	CONSTRAINT pk_generation_run PRIMARY KEY (id), 
	CONSTRAINT ck_generation_run_samples CHECK (samples BETWEEN 1 AND 8), 
	CONSTRAINT fk_generation_run_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT fk_generation_run_requested_by_id FOREIGN KEY(requested_by_id) REFERENCES reviewer (id), 
	CONSTRAINT fk_generation_run_responder_id FOREIGN KEY(responder_id) REFERENCES responder (id), 
	CONSTRAINT ck_generation_run_scope CHECK (scope IN ('TRAINING', 'HELD_OUT', 'ALL')), 
	CONSTRAINT ck_generation_run_runstatus CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED'))
);
INSERT INTO "generation_run" VALUES(1,1,3,'ALL',2,NULL,0,528,0,1,'SUCCEEDED',0,1,'here-host-1',25480,1795275860.79,'boot-1','2026-11-21 15:44:29.503989','',28,28,NULL,'2026-11-21 15:44:28.305545','2026-11-21 15:44:28.321185','2026-11-21 15:44:29.518453',NULL);
CREATE TABLE guideline (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	created_by_id INTEGER, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_guideline PRIMARY KEY (id), 
	CONSTRAINT fk_guideline_created_by_id FOREIGN KEY(created_by_id) REFERENCES reviewer (id), 
	CONSTRAINT fk_guideline_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT uq_guideline_project_id_version UNIQUE (project_id, version)
);
INSERT INTO "guideline" VALUES(1,1,1,'Say sorry.',NULL,'2026-11-21 15:44:25.155320');
CREATE TABLE judgment (
	id INTEGER NOT NULL, 
	pairing_id INTEGER NOT NULL, 
	reviewer_id INTEGER NOT NULL, 
	candidate_left BOOLEAN NOT NULL, 
	verdict VARCHAR(20), 
	drawn_at DATETIME NOT NULL, 
	judged_at DATETIME, 
	seconds DOUBLE, 
	CONSTRAINT pk_judgment PRIMARY KEY (id), 
	CONSTRAINT ck_judgment_judged_has_verdict CHECK ((verdict IS NULL) = (judged_at IS NULL)), 
	CONSTRAINT fk_judgment_pairing_id FOREIGN KEY(pairing_id) REFERENCES pairing (id), 
	CONSTRAINT fk_judgment_reviewer_id FOREIGN KEY(reviewer_id) REFERENCES reviewer (id), 
	CONSTRAINT uq_judgment_pairing_id_reviewer_id UNIQUE (pairing_id, reviewer_id), 
	CONSTRAINT ck_judgment_verdict CHECK (verdict IN ('LEFT', 'RIGHT', 'TIE', 'BOTH_BAD'))
);
INSERT INTO "judgment" VALUES(1,1,1,0,'LEFT','2026-11-21 15:44:29.609629','2026-11-21 15:44:29.614173',NULL);
INSERT INTO "judgment" VALUES(2,2,1,0,'RIGHT','2026-11-21 15:44:29.620789','2026-11-21 15:44:29.621958',NULL);
INSERT INTO "judgment" VALUES(3,3,1,0,'TIE','2026-11-21 15:44:29.626892','2026-11-21 15:44:29.628848',NULL);
INSERT INTO "judgment" VALUES(4,4,1,0,'LEFT','2026-11-21 15:44:29.635402','2026-11-21 15:44:29.637076',NULL);
CREATE TABLE lease (
	comparison_id INTEGER NOT NULL, 
	reviewer_id INTEGER NOT NULL, 
	until DATETIME NOT NULL, 
	CONSTRAINT pk_lease PRIMARY KEY (comparison_id, reviewer_id), 
	CONSTRAINT fk_lease_comparison_id FOREIGN KEY(comparison_id) REFERENCES comparison (id), 
	CONSTRAINT fk_lease_reviewer_id FOREIGN KEY(reviewer_id) REFERENCES reviewer (id)
);
INSERT INTO "lease" VALUES(1,1,'2026-11-21 18:00:00');
CREATE TABLE membership (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	reviewer_id INTEGER NOT NULL, 
	role VARCHAR(20) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_membership PRIMARY KEY (id), 
	CONSTRAINT fk_membership_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT fk_membership_reviewer_id FOREIGN KEY(reviewer_id) REFERENCES reviewer (id), 
	CONSTRAINT uq_membership_project_id_reviewer_id_role UNIQUE (project_id, reviewer_id, role), 
	CONSTRAINT ck_membership_role CHECK (role IN ('MANAGER', 'ANNOTATOR', 'REVIEWER'))
);
INSERT INTO "membership" VALUES(1,1,1,'MANAGER','2026-11-21 15:44:25.157299');
INSERT INTO "membership" VALUES(2,1,1,'REVIEWER','2026-11-21 15:44:25.158072');
CREATE TABLE model_version (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	location TEXT NOT NULL, 
	sha256 TEXT, 
	template_hash TEXT, 
	parent_id INTEGER, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_model_version PRIMARY KEY (id), 
	CONSTRAINT fk_model_version_parent_id FOREIGN KEY(parent_id) REFERENCES model_version (id), 
	CONSTRAINT uq_model_version_name UNIQUE (name)
);
INSERT INTO "model_version" VALUES(1,'model-1','echo',NULL,NULL,NULL,'2026-11-21 15:44:28.299769');
CREATE TABLE pairing (
	id INTEGER NOT NULL, 
	evaluation_id INTEGER NOT NULL, 
	prompt_id INTEGER NOT NULL, 
	candidate_response_id INTEGER NOT NULL, 
	baseline_response_id INTEGER NOT NULL, 
	identical BOOLEAN NOT NULL, 
	CONSTRAINT pk_pairing PRIMARY KEY (id), 
	CONSTRAINT ck_pairing_two_responses CHECK (candidate_response_id <> baseline_response_id), 
	CONSTRAINT fk_pairing_baseline_response_id FOREIGN KEY(baseline_response_id) REFERENCES response (id), 
	CONSTRAINT fk_pairing_candidate_response_id FOREIGN KEY(candidate_response_id) REFERENCES response (id), 
	CONSTRAINT fk_pairing_evaluation_id FOREIGN KEY(evaluation_id) REFERENCES evaluation (id), 
	CONSTRAINT fk_pairing_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompt (id), 
	CONSTRAINT uq_pairing_evaluation_id_candidate_response_id_baseline_response_id UNIQUE (evaluation_id, candidate_response_id, baseline_response_id)
);
INSERT INTO "pairing" VALUES(1,1,14,36,28,0);
INSERT INTO "pairing" VALUES(2,1,13,35,26,0);
INSERT INTO "pairing" VALUES(3,1,16,38,31,0);
INSERT INTO "pairing" VALUES(4,1,15,37,29,0);
CREATE TABLE placement (
	ranking_id INTEGER NOT NULL, 
	response_id INTEGER NOT NULL, 
	place INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	CONSTRAINT pk_placement PRIMARY KEY (ranking_id, response_id), 
	CONSTRAINT ck_placement_place CHECK (place >= 1), 
	CONSTRAINT fk_placement_ranking_id FOREIGN KEY(ranking_id) REFERENCES ranking (id), 
	CONSTRAINT fk_placement_response_id FOREIGN KEY(response_id) REFERENCES response (id), 
	CONSTRAINT uq_placement_ranking_id_position UNIQUE (ranking_id, position)
);
INSERT INTO "placement" VALUES(1,1,2,0);
INSERT INTO "placement" VALUES(1,2,1,1);
INSERT INTO "placement" VALUES(2,3,1,0);
INSERT INTO "placement" VALUES(2,4,2,1);
INSERT INTO "placement" VALUES(3,5,1,0);
INSERT INTO "placement" VALUES(3,6,2,1);
INSERT INTO "placement" VALUES(4,7,2,0);
INSERT INTO "placement" VALUES(4,8,1,1);
INSERT INTO "placement" VALUES(5,9,1,0);
INSERT INTO "placement" VALUES(5,10,2,1);
INSERT INTO "placement" VALUES(6,11,1,0);
INSERT INTO "placement" VALUES(6,12,2,1);
INSERT INTO "placement" VALUES(7,13,2,0);
INSERT INTO "placement" VALUES(7,14,1,1);
INSERT INTO "placement" VALUES(8,15,1,0);
INSERT INTO "placement" VALUES(8,16,2,1);
INSERT INTO "placement" VALUES(9,17,1,0);
INSERT INTO "placement" VALUES(9,18,2,1);
INSERT INTO "placement" VALUES(10,19,2,0);
INSERT INTO "placement" VALUES(10,20,1,1);
INSERT INTO "placement" VALUES(11,21,1,0);
INSERT INTO "placement" VALUES(11,22,2,1);
INSERT INTO "placement" VALUES(12,23,1,0);
INSERT INTO "placement" VALUES(12,24,2,1);
INSERT INTO "placement" VALUES(13,41,1,0);
INSERT INTO "placement" VALUES(13,42,1,1);
INSERT INTO "placement" VALUES(14,48,1,0);
INSERT INTO "placement" VALUES(14,47,1,1);
CREATE TABLE preference (
	id INTEGER NOT NULL, 
	snapshot_id INTEGER NOT NULL, 
	"row" INTEGER NOT NULL, 
	split VARCHAR(20) NOT NULL, 
	prompt_id INTEGER NOT NULL, 
	chosen_id INTEGER, 
	rejected_id INTEGER NOT NULL, 
	ranking_id INTEGER, 
	correction_id INTEGER, 
	CONSTRAINT pk_preference PRIMARY KEY (id), 
	CONSTRAINT ck_preference_correction_is_chosen CHECK ((chosen_id IS NULL) = (correction_id IS NOT NULL)), 
	CONSTRAINT ck_preference_one_source CHECK ((ranking_id IS NULL) <> (correction_id IS NULL)), 
	CONSTRAINT fk_preference_chosen_id FOREIGN KEY(chosen_id) REFERENCES response (id), 
	CONSTRAINT fk_preference_correction_id FOREIGN KEY(correction_id) REFERENCES correction (id), 
	CONSTRAINT fk_preference_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompt (id), 
	CONSTRAINT fk_preference_ranking_id FOREIGN KEY(ranking_id) REFERENCES ranking (id), 
	CONSTRAINT fk_preference_rejected_id FOREIGN KEY(rejected_id) REFERENCES response (id), 
	CONSTRAINT fk_preference_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES snapshot (id), 
	CONSTRAINT uq_preference_snapshot_id_row UNIQUE (snapshot_id, "row"), 
	CONSTRAINT ck_preference_split CHECK (split IN ('TRAIN', 'VALIDATION'))
);
INSERT INTO "preference" VALUES(1,1,0,'TRAIN',3,5,6,3,NULL);
INSERT INTO "preference" VALUES(2,1,1,'TRAIN',8,15,16,8,NULL);
INSERT INTO "preference" VALUES(3,1,2,'TRAIN',11,21,22,11,NULL);
INSERT INTO "preference" VALUES(4,1,3,'TRAIN',10,20,19,10,NULL);
INSERT INTO "preference" VALUES(5,1,4,'TRAIN',1,2,1,1,NULL);
INSERT INTO "preference" VALUES(6,1,5,'TRAIN',5,9,10,5,NULL);
INSERT INTO "preference" VALUES(7,1,6,'TRAIN',7,14,13,7,NULL);
INSERT INTO "preference" VALUES(8,1,7,'TRAIN',4,8,7,4,NULL);
INSERT INTO "preference" VALUES(9,1,8,'TRAIN',2,3,4,2,NULL);
INSERT INTO "preference" VALUES(10,1,9,'TRAIN',2,NULL,41,NULL,1);
INSERT INTO "preference" VALUES(11,1,10,'TRAIN',6,11,12,6,NULL);
INSERT INTO "preference" VALUES(12,1,11,'TRAIN',12,23,24,12,NULL);
INSERT INTO "preference" VALUES(13,1,12,'VALIDATION',9,17,18,9,NULL);
CREATE TABLE project (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	task TEXT NOT NULL, 
	instructions TEXT NOT NULL, 
	created_at DATETIME NOT NULL, people_wanted INTEGER, overlap_share DOUBLE DEFAULT '1' NOT NULL, 
	CONSTRAINT pk_project PRIMARY KEY (id), 
	CONSTRAINT ck_project_named CHECK (trim(name) <> ''), 
	CONSTRAINT uq_project_name UNIQUE (name)
);
INSERT INTO "project" VALUES(1,'Parcels','Answer email about parcels.','Answer in two sentences.','2026-11-21 15:44:25.155320',NULL,1.0);
CREATE TABLE prompt (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	prompt_set_id INTEGER NOT NULL, 
	row_number INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	context TEXT, 
	topic TEXT, 
	extra JSON, 
	content_hash TEXT NOT NULL, 
	held_out BOOLEAN NOT NULL, 
	cluster TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_prompt PRIMARY KEY (id), 
	CONSTRAINT ck_prompt_not_empty CHECK (trim(text) <> ''), 
	CONSTRAINT fk_prompt_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT fk_prompt_prompt_set_id FOREIGN KEY(prompt_set_id) REFERENCES prompt_set (id), 
	CONSTRAINT uq_prompt_project_id_content_hash UNIQUE (project_id, content_hash)
);
INSERT INTO "prompt" VALUES(1,1,1,1,'My atlas has not come. Where is it?',NULL,'post','null','b4c1f753c32d3fee887f266b856be0ff2b5feb2008536d1ed1f2d9b781110713',0,'b4c1f753c32d3fee','2026-11-21 15:44:28.265937');
INSERT INTO "prompt" VALUES(2,1,1,2,'Two copies of the dictionary arrived, I ordered one.',NULL,'post','null','c7045926c0afcc933e470030ffd17a117fd3809c21494a880e8f946385d3895c',0,'c7045926c0afcc93','2026-11-21 15:44:28.273295');
INSERT INTO "prompt" VALUES(3,1,1,3,'Can a school pay by invoice in October?',NULL,'post','null','82036c9fc3e6958bb175667cc9a15b299dbf6c08fe8f68d1f2f834972a90011d',0,'82036c9fc3e6958b','2026-11-21 15:44:28.275826');
INSERT INTO "prompt" VALUES(4,1,1,4,'The ebook opens on page nine and nowhere else.',NULL,'post','null','4fe8deb2036d58893ddc8a362475c0583944518850368e29a3283517f57b517e',0,'4fe8deb2036d5889','2026-11-21 15:44:28.277896');
INSERT INTO "prompt" VALUES(5,1,1,5,'Please cancel my subscription to the chess monthly.',NULL,'post','null','48d86da6c09641ffee6bb87b445119299c5dfcb1337349c7f48df8b4809464fb',0,'48d86da6c09641ff','2026-11-21 15:44:28.279857');
INSERT INTO "prompt" VALUES(6,1,1,6,'Who do I ask about quoting a poem in a sermon?',NULL,'post','null','950d806b37e793842178b14a7aed8e9cb8fd385e393635dc04d62adc8a08e878',0,'950d806b37e79384','2026-11-21 15:44:28.281655');
INSERT INTO "prompt" VALUES(7,1,1,7,'The cover is torn and page 12 is missing.',NULL,'post','null','55702d630140acee35bfbe62918e214122999fc2cc2fcb5191770626bc93dffc',0,'55702d630140acee','2026-11-21 15:44:28.283628');
INSERT INTO "prompt" VALUES(8,1,1,8,'Do you have large print cookery books?',NULL,'post','null','6592a32f8764d32199ddaa1d41726055e63bb2cf9a327fd878c1c58e842b5d75',0,'6592a32f8764d321','2026-11-21 15:44:28.285874');
INSERT INTO "prompt" VALUES(9,1,1,9,'Your website took my money twice yesterday.',NULL,'post','null','cf190950c9f8797b84d913d9d1ff0db9e1eb267764e85344ef4f0fced83cf2c9',0,'cf190950c9f8797b','2026-11-21 15:44:28.287924');
INSERT INTO "prompt" VALUES(10,1,1,10,'I sent a manuscript in May and heard nothing.',NULL,'post','null','61c4b0ec7ca07fb84e7b7752cc2308ac68d04d79a3ea2ff932c7f59e903b392e',0,'61c4b0ec7ca07fb8','2026-11-21 15:44:28.289845');
INSERT INTO "prompt" VALUES(11,1,1,11,'How much is postage to Norway for three books?',NULL,'post','null','252c594c500ccf45d03d154213c6686d5be7cc430af922a4f7ea060ca3aa9c30',0,'252c594c500ccf45','2026-11-21 15:44:28.291784');
INSERT INTO "prompt" VALUES(12,1,1,12,'Wrong book: I wanted the grammar, not the novel.',NULL,'post','null','0b70a7fe9185d1e0f690346d41244341b1e374d6b706b4b998f52fdfc2d510a4',0,'0b70a7fe9185d1e0','2026-11-21 15:44:28.293829');
INSERT INTO "prompt" VALUES(13,1,1,13,'Is there an audio version of The Long Harbour?',NULL,'post','null','8b85c9ae0326880b3aa18e7597bc5a73d91c4a6edfe111aa1b660b67500f77d4',1,'8b85c9ae0326880b','2026-11-21 15:44:28.295835');
INSERT INTO "prompt" VALUES(14,1,1,14,'My gift voucher code does not work at the till.',NULL,'post','null','4d485006458d21055e418bdea62eaec4d6b2db7576a46d0a936573f6a4b90808',1,'4d485006458d2105','2026-11-21 15:44:28.296708');
INSERT INTO "prompt" VALUES(15,1,1,15,'Could a reviewer''s copy be sent to our parish paper?',NULL,'post','null','17ce6cec5f40caa3ac291c6323ac265fb769e77654f0b1f1480ff40fdbf32926',1,'17ce6cec5f40caa3','2026-11-21 15:44:28.297465');
INSERT INTO "prompt" VALUES(16,1,1,16,'When is the second volume printed again?',NULL,'post','null','a1113ee7051161c8b784dd68afd3420e5780f17441b81833bbc8a2c65d363885',1,'a1113ee7051161c8','2026-11-21 15:44:28.298229');
CREATE TABLE prompt_set (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	file_name TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	row_count INTEGER NOT NULL, 
	imported_by_id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_prompt_set PRIMARY KEY (id), 
	CONSTRAINT fk_prompt_set_imported_by_id FOREIGN KEY(imported_by_id) REFERENCES reviewer (id), 
	CONSTRAINT fk_prompt_set_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);
INSERT INTO "prompt_set" VALUES(1,1,'parcels.csv','7e5aaf51c41d6d03696ff8c00f0d2f4173015297c50de36c56e8cd8a1f7db034',16,1,'2026-11-21 15:44:28.260051');
CREATE TABLE ranking (
	id INTEGER NOT NULL, 
	comparison_id INTEGER NOT NULL, 
	reviewer_id INTEGER NOT NULL, 
	both_bad BOOLEAN NOT NULL, 
	reason TEXT, 
	seconds DOUBLE, 
	prompt_set_id INTEGER, 
	created_at DATETIME NOT NULL, 
	undone_at DATETIME, strength INTEGER CONSTRAINT ck_ranking_strength CHECK (strength IN (1, 2)), guideline_id INTEGER CONSTRAINT fk_ranking_guideline_id REFERENCES guideline (id), adjudicates BOOLEAN DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_ranking PRIMARY KEY (id), 
	CONSTRAINT fk_ranking_comparison_id FOREIGN KEY(comparison_id) REFERENCES comparison (id), 
	CONSTRAINT fk_ranking_prompt_set_id FOREIGN KEY(prompt_set_id) REFERENCES prompt_set (id), 
	CONSTRAINT fk_ranking_reviewer_id FOREIGN KEY(reviewer_id) REFERENCES reviewer (id)
);
INSERT INTO "ranking" VALUES(1,1,1,0,'shorter',NULL,1,'2026-11-21 15:44:28.272455',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(2,2,1,0,'kinder',NULL,1,'2026-11-21 15:44:28.275461',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(3,3,1,0,'kinder',NULL,1,'2026-11-21 15:44:28.277591',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(4,4,1,0,'shorter',NULL,1,'2026-11-21 15:44:28.279558',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(5,5,1,0,'kinder',NULL,1,'2026-11-21 15:44:28.281381',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(6,6,1,0,'kinder',NULL,1,'2026-11-21 15:44:28.283269',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(7,7,1,0,'shorter',NULL,1,'2026-11-21 15:44:28.285576',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(8,8,1,0,'kinder',NULL,1,'2026-11-21 15:44:28.287601',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(9,9,1,0,'kinder',NULL,1,'2026-11-21 15:44:28.289554',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(10,10,1,0,'shorter',NULL,1,'2026-11-21 15:44:28.291495',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(11,11,1,0,'kinder',NULL,1,'2026-11-21 15:44:28.293520',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(12,12,1,0,'kinder',NULL,1,'2026-11-21 15:44:28.295530',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(13,14,1,1,NULL,NULL,NULL,'2026-11-21 15:44:29.540695',NULL,NULL,NULL,0);
INSERT INTO "ranking" VALUES(14,15,1,0,NULL,NULL,NULL,'2026-11-21 15:44:29.560446','2026-11-21 15:44:29.561929',NULL,NULL,0);
CREATE TABLE recipe (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	method VARCHAR(20) NOT NULL, 
	learning_rate DOUBLE NOT NULL, 
	beta DOUBLE NOT NULL, 
	sft_weight DOUBLE NOT NULL, 
	epochs DOUBLE NOT NULL, 
	batch_size INTEGER NOT NULL, 
	warmup_steps INTEGER NOT NULL, 
	lora_rank INTEGER NOT NULL, 
	lora_alpha INTEGER NOT NULL, 
	max_length INTEGER NOT NULL, 
	max_steps INTEGER, 
	seed INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_recipe PRIMARY KEY (id), 
	CONSTRAINT ck_recipe_beta CHECK (beta > 0), 
	CONSTRAINT ck_recipe_epochs CHECK (epochs > 0), 
	CONSTRAINT ck_recipe_learning_rate CHECK (learning_rate > 0), 
	CONSTRAINT ck_recipe_sft_weight CHECK (sft_weight >= 0), 
	CONSTRAINT ck_recipe_method CHECK (method IN ('DPO'))
);
INSERT INTO "recipe" VALUES(1,'Small model, no GPU','DPO',0.0001,0.1,0.5,1.0,4,3,16,32,1024,NULL,0,'2026-11-21 15:44:29.583356');
CREATE TABLE responder (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	simulated BOOLEAN NOT NULL, 
	reviewer_id INTEGER, 
	model_version_id INTEGER, 
	instructions TEXT, 
	temperature DOUBLE NOT NULL, 
	top_p DOUBLE NOT NULL, 
	max_tokens INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_responder PRIMARY KEY (id), 
	CONSTRAINT ck_responder_model_has_instructions CHECK ((kind = 'HUMAN') = (instructions IS NULL)), 
	CONSTRAINT ck_responder_model_has_version CHECK ((kind = 'MODEL') = (model_version_id IS NOT NULL)), 
	CONSTRAINT fk_responder_model_version_id FOREIGN KEY(model_version_id) REFERENCES model_version (id), 
	CONSTRAINT fk_responder_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT fk_responder_reviewer_id FOREIGN KEY(reviewer_id) REFERENCES reviewer (id), 
	CONSTRAINT uq_responder_project_id_name UNIQUE (project_id, name), 
	CONSTRAINT ck_responder_responderkind CHECK (kind IN ('HUMAN', 'MODEL', 'REMOTE'))
);
INSERT INTO "responder" VALUES(1,1,'Ann','HUMAN',0,NULL,NULL,NULL,0.9,0.95,160,'2026-11-21 15:44:28.262778');
INSERT INTO "responder" VALUES(2,1,'Bo','HUMAN',0,NULL,NULL,NULL,0.9,0.95,160,'2026-11-21 15:44:28.263830');
INSERT INTO "responder" VALUES(3,1,'Echo','MODEL',0,NULL,1,'Answer the email.',0.9,0.95,160,'2026-11-21 15:44:28.300369');
CREATE TABLE response (
	id INTEGER NOT NULL, 
	prompt_id INTEGER NOT NULL, 
	responder_id INTEGER NOT NULL, 
	sample INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	token_ids JSON, 
	prompt_tokens INTEGER, 
	finish_reason TEXT, 
	template_hash TEXT, 
	seconds DOUBLE, 
	generation_run_id INTEGER, 
	prompt_set_id INTEGER, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_response PRIMARY KEY (id), 
	CONSTRAINT ck_response_one_origin CHECK (generation_run_id IS NULL OR prompt_set_id IS NULL), 
	CONSTRAINT fk_response_generation_run_id FOREIGN KEY(generation_run_id) REFERENCES generation_run (id), 
	CONSTRAINT fk_response_prompt_id FOREIGN KEY(prompt_id) REFERENCES prompt (id), 
	CONSTRAINT fk_response_prompt_set_id FOREIGN KEY(prompt_set_id) REFERENCES prompt_set (id), 
	CONSTRAINT fk_response_responder_id FOREIGN KEY(responder_id) REFERENCES responder (id), 
	CONSTRAINT uq_response_prompt_id_responder_id_sample UNIQUE (prompt_id, responder_id, sample)
);
INSERT INTO "response" VALUES(1,1,1,0,'I am sorry about that, and have asked the warehouse about number 5.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.268206');
INSERT INTO "response" VALUES(2,1,2,0,'Number 5 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.268787');
INSERT INTO "response" VALUES(3,2,1,0,'I am sorry about that, and have asked the warehouse about number 42.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.273815');
INSERT INTO "response" VALUES(4,2,2,0,'Number 42 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.274182');
INSERT INTO "response" VALUES(5,3,1,0,'I am sorry about that, and have asked the warehouse about number 79.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.276234');
INSERT INTO "response" VALUES(6,3,2,0,'Number 79 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.276573');
INSERT INTO "response" VALUES(7,4,1,0,'I am sorry about that, and have asked the warehouse about number 116.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.278257');
INSERT INTO "response" VALUES(8,4,2,0,'Number 116 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.278572');
INSERT INTO "response" VALUES(9,5,1,0,'I am sorry about that, and have asked the warehouse about number 153.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.280202');
INSERT INTO "response" VALUES(10,5,2,0,'Number 153 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.280508');
INSERT INTO "response" VALUES(11,6,1,0,'I am sorry about that, and have asked the warehouse about number 190.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.281987');
INSERT INTO "response" VALUES(12,6,2,0,'Number 190 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.282285');
INSERT INTO "response" VALUES(13,7,1,0,'I am sorry about that, and have asked the warehouse about number 227.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.284057');
INSERT INTO "response" VALUES(14,7,2,0,'Number 227 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.284390');
INSERT INTO "response" VALUES(15,8,1,0,'I am sorry about that, and have asked the warehouse about number 264.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.286252');
INSERT INTO "response" VALUES(16,8,2,0,'Number 264 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.286573');
INSERT INTO "response" VALUES(17,9,1,0,'I am sorry about that, and have asked the warehouse about number 301.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.288306');
INSERT INTO "response" VALUES(18,9,2,0,'Number 301 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.288615');
INSERT INTO "response" VALUES(19,10,1,0,'I am sorry about that, and have asked the warehouse about number 338.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.290204');
INSERT INTO "response" VALUES(20,10,2,0,'Number 338 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.290538');
INSERT INTO "response" VALUES(21,11,1,0,'I am sorry about that, and have asked the warehouse about number 375.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.292137');
INSERT INTO "response" VALUES(22,11,2,0,'Number 375 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.292438');
INSERT INTO "response" VALUES(23,12,1,0,'I am sorry about that, and have asked the warehouse about number 412.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.294189');
INSERT INTO "response" VALUES(24,12,2,0,'Number 412 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.294496');
INSERT INTO "response" VALUES(25,13,1,0,'I am sorry about that, and have asked the warehouse about number 449.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.296223');
INSERT INTO "response" VALUES(26,13,2,0,'Number 449 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.296538');
INSERT INTO "response" VALUES(27,14,1,0,'I am sorry about that, and have asked the warehouse about number 486.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.297017');
INSERT INTO "response" VALUES(28,14,2,0,'Number 486 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.297307');
INSERT INTO "response" VALUES(29,15,1,0,'I am sorry about that, and have asked the warehouse about number 523.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.297774');
INSERT INTO "response" VALUES(30,15,2,0,'Number 523 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.298073');
INSERT INTO "response" VALUES(31,16,1,0,'I am sorry about that, and have asked the warehouse about number 560.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.298652');
INSERT INTO "response" VALUES(32,16,2,0,'Number 560 is being looked at.',NULL,NULL,NULL,NULL,NULL,NULL,1,'2026-11-21 15:44:28.298941');
INSERT INTO "response" VALUES(33,12,3,0,'Hello, thank you for writing. About book: the Wrong wanted I the grammar, novel. not. Kind regards, Merrowby Books','[6, 5, 3, 3, 8, 5, 5, 3, 5, 6, 1, 3, 8, 6, 4, 4, 8, 8, 5]',9,'stop',NULL,1.1774478500046825502e-01,1,NULL,'2026-11-21 15:44:29.259692');
INSERT INTO "response" VALUES(34,12,3,1,'Dear customer, I am sorry for the trouble. About the the Wrong novel. wanted book: grammar, not I. We will write again by Friday.','[4, 9, 1, 2, 5, 3, 3, 8, 5, 3, 3, 5, 6, 6, 5, 8, 3, 2, 2, 4, 5, 5, 2, 7]',9,'stop',NULL,1.17755791001400211825e-01,1,NULL,'2026-11-21 15:44:29.259700');
INSERT INTO "response" VALUES(35,13,3,0,'Hello, thank you for writing. About Harbour? The audio Long Is version an there of. Yours, the service desk.','[6, 5, 3, 3, 8, 5, 8, 3, 5, 4, 2, 7, 2, 5, 3, 6, 3, 7, 5]',9,'stop',NULL,1.1828758500087133143e-01,1,NULL,'2026-11-21 15:44:29.259701');
INSERT INTO "response" VALUES(36,14,3,0,'Good day. About does gift My not work voucher at code till. the. Yours, the service desk.','[4, 4, 5, 4, 4, 2, 3, 4, 7, 2, 4, 5, 4, 6, 3, 7, 5]',10,'stop',NULL,1.18422515999554889276e-01,1,NULL,'2026-11-21 15:44:29.259702');
INSERT INTO "response" VALUES(37,15,3,0,'Good day. About copy sent reviewer''s Could to a be our paper? parish. We will write again by Friday.','[4, 4, 5, 4, 4, 10, 5, 2, 1, 2, 3, 6, 7, 2, 4, 5, 5, 2, 7]',10,'stop',NULL,1.18355556000096839852e-01,1,NULL,'2026-11-21 15:44:29.259702');
INSERT INTO "response" VALUES(38,16,3,0,'Thanks for this. About the is second again? volume When printed. We will write again by Friday.','[6, 3, 5, 5, 3, 2, 6, 6, 6, 4, 8, 2, 4, 5, 5, 2, 7]',7,'stop',NULL,1.18344850001449231058e-01,1,NULL,'2026-11-21 15:44:29.259703');
INSERT INTO "response" VALUES(39,1,3,0,'Good day. About is My not has Where atlas it? come.. We will write again by Friday.','[4, 4, 5, 2, 2, 3, 3, 5, 5, 3, 6, 2, 4, 5, 5, 2, 7]',8,'stop',NULL,1.71391597999900113791e-01,1,NULL,'2026-11-21 15:44:29.259704');
INSERT INTO "response" VALUES(40,1,3,1,'Good day. About not Where atlas has is My come.. Yours, the service desk.','[4, 4, 5, 3, 5, 5, 3, 2, 2, 6, 6, 3, 7, 5]',8,'stop',NULL,1.71396735999223892576e-01,1,NULL,'2026-11-21 15:44:29.259705');
INSERT INTO "response" VALUES(41,2,3,0,'Dear customer, I am sorry for the trouble. About dictionary the of copies I one.. Kind regards, Merrowby Books','[4, 9, 1, 2, 5, 3, 3, 8, 5, 10, 3, 2, 6, 1, 5, 4, 8, 8, 5]',9,'stop',NULL,1.28283714000644977204e-01,1,NULL,'2026-11-21 15:44:29.259706');
INSERT INTO "response" VALUES(42,2,3,1,'Hello, thank you for writing. About Two I of ordered one. dictionary the copies arrived,. Kind regards, Merrowby Books','[6, 5, 3, 3, 8, 5, 3, 1, 2, 7, 4, 10, 3, 6, 9, 4, 8, 8, 5]',9,'stop',NULL,1.28286728000603034161e-01,1,NULL,'2026-11-21 15:44:29.259706');
INSERT INTO "response" VALUES(43,4,3,0,'Thanks for this. About ebook on nowhere nine and else. opens The page. Kind regards, Merrowby Books','[6, 3, 5, 5, 5, 2, 7, 4, 3, 5, 5, 3, 5, 4, 8, 8, 5]',9,'stop',NULL,1.25861712000187253579e-01,1,NULL,'2026-11-21 15:44:29.259707');
INSERT INTO "response" VALUES(44,4,3,1,'Good day. About nine else. The ebook opens on nowhere and page. We will write again by Friday.','[4, 4, 5, 4, 5, 3, 5, 5, 2, 7, 3, 5, 2, 4, 5, 5, 2, 7]',9,'stop',NULL,1.25864786001329775899e-01,1,NULL,'2026-11-21 15:44:29.259708');
INSERT INTO "response" VALUES(45,5,3,0,'Hello, thank you for writing. About monthly. subscription chess to Please the my cancel. Yours, the service desk.','[6, 5, 3, 3, 8, 5, 8, 12, 5, 2, 6, 3, 2, 7, 6, 3, 7, 5]',8,'stop',NULL,1.25776864999352255836e-01,1,NULL,'2026-11-21 15:44:29.269039');
INSERT INTO "response" VALUES(46,5,3,1,'Thanks for this. About monthly. to the chess Please cancel my subscription. We will write again by Friday.','[6, 3, 5, 5, 8, 2, 3, 5, 6, 6, 2, 13, 2, 4, 5, 5, 2, 7]',8,'stop',NULL,1.25779538999267970211e-01,1,NULL,'2026-11-21 15:44:29.269047');
INSERT INTO "response" VALUES(47,3,3,0,'Thanks for this. About invoice in by October? pay Can school a. Kind regards, Merrowby Books','[6, 3, 5, 5, 7, 2, 2, 8, 3, 3, 6, 2, 4, 8, 8, 5]',8,'stop',NULL,1.28024446999916108325e-01,1,NULL,'2026-11-21 15:44:29.269048');
INSERT INTO "response" VALUES(48,3,3,1,'Hello, thank you for writing. About a by invoice pay in Can October? school. We will write again by Friday.','[6, 5, 3, 3, 8, 5, 1, 2, 7, 3, 2, 3, 8, 7, 2, 4, 5, 5, 2, 7]',8,'stop',NULL,1.28026820999366464093e-01,1,NULL,'2026-11-21 15:44:29.269049');
INSERT INTO "response" VALUES(49,6,3,0,'Dear customer, I am sorry for the trouble. About a do sermon? I ask about in Who a quoting poem. We will write again by Friday.','[4, 9, 1, 2, 5, 3, 3, 8, 5, 1, 2, 7, 1, 3, 5, 2, 3, 1, 7, 5, 2, 4, 5, 5, 2, 7]',11,'stop',NULL,1.26178114000140340067e-01,1,NULL,'2026-11-21 15:44:29.269050');
INSERT INTO "response" VALUES(50,6,3,1,'Thanks for this. About ask quoting a poem sermon? in do Who about a I. Kind regards, Merrowby Books','[6, 3, 5, 5, 3, 7, 1, 4, 7, 2, 2, 3, 5, 1, 2, 4, 8, 8, 5]',11,'stop',NULL,1.26180376999400323256e-01,1,NULL,'2026-11-21 15:44:29.269050');
INSERT INTO "response" VALUES(51,7,3,0,'Thanks for this. About cover and is torn is missing. 12 page The. Kind regards, Merrowby Books','[6, 3, 5, 5, 5, 3, 2, 4, 2, 8, 2, 4, 4, 4, 8, 8, 5]',9,'stop',NULL,1.25873779999892576597e-01,1,NULL,'2026-11-21 15:44:29.269051');
INSERT INTO "response" VALUES(52,7,3,1,'Hello, thank you for writing. About 12 torn cover is and missing. The is page. We will write again by Friday.','[6, 5, 3, 3, 8, 5, 2, 4, 5, 2, 3, 8, 3, 2, 5, 2, 4, 5, 5, 2, 7]',9,'stop',NULL,1.25876242998856469057e-01,1,NULL,'2026-11-21 15:44:29.269051');
INSERT INTO "response" VALUES(53,8,3,0,'Thanks for this. About Do you books? cookery large print have. Yours, the service desk.','[6, 3, 5, 5, 2, 3, 6, 7, 5, 5, 5, 6, 3, 7, 5]',7,'stop',NULL,1.25812077001683064736e-01,1,NULL,'2026-11-21 15:44:29.269052');
INSERT INTO "response" VALUES(54,8,3,1,'Dear customer, I am sorry for the trouble. About Do books? have large you print cookery. We will write again by Friday.','[4, 9, 1, 2, 5, 3, 3, 8, 5, 2, 6, 4, 5, 3, 5, 8, 2, 4, 5, 5, 2, 7]',7,'stop',NULL,1.25815081000837380997e-01,1,NULL,'2026-11-21 15:44:29.269053');
INSERT INTO "response" VALUES(55,9,3,0,'Hello, thank you for writing. About website took money Your twice yesterday. my. Yours, the service desk.','[6, 5, 3, 3, 8, 5, 7, 4, 5, 4, 5, 10, 3, 6, 3, 7, 5]',7,'stop',NULL,1.25818106000224361196e-01,1,NULL,'2026-11-21 15:44:29.269054');
INSERT INTO "response" VALUES(56,9,3,1,'Dear customer, I am sorry for the trouble. About took website my Your money twice yesterday.. We will write again by Friday.','[4, 9, 1, 2, 5, 3, 3, 8, 5, 4, 7, 2, 4, 5, 5, 11, 2, 4, 5, 5, 2, 7]',7,'stop',NULL,1.25820510000266949646e-01,1,NULL,'2026-11-21 15:44:29.269054');
INSERT INTO "response" VALUES(57,10,3,0,'Thanks for this. About in May I sent nothing. and heard a manuscript. We will write again by Friday.','[6, 3, 5, 5, 2, 3, 1, 4, 8, 3, 5, 1, 11, 2, 4, 5, 5, 2, 7]',9,'stop',NULL,1.258583470007579308e-01,1,NULL,'2026-11-21 15:44:29.269055');
INSERT INTO "response" VALUES(58,10,3,1,'Good day. About in and nothing. sent manuscript heard May a I. Yours, the service desk.','[4, 4, 5, 2, 3, 8, 4, 10, 5, 3, 1, 2, 6, 3, 7, 5]',9,'stop',NULL,1.25860879999891039915e-01,1,NULL,'2026-11-21 15:44:29.269056');
INSERT INTO "response" VALUES(59,11,3,0,'Hello, thank you for writing. About books? postage to Norway three is How much for. We will write again by Friday.','[6, 5, 3, 3, 8, 5, 6, 7, 2, 6, 5, 2, 3, 4, 4, 2, 4, 5, 5, 2, 7]',9,'stop',NULL,1.25971976000073482282e-01,1,NULL,'2026-11-21 15:44:29.269056');
INSERT INTO "response" VALUES(60,11,3,1,'Dear customer, I am sorry for the trouble. About three to How postage for much books? is Norway. Yours, the service desk.','[4, 9, 1, 2, 5, 3, 3, 8, 5, 5, 2, 3, 7, 3, 4, 6, 2, 7, 6, 3, 7, 5]',9,'stop',NULL,1.25976913999693351797e-01,1,NULL,'2026-11-21 15:44:29.269057');
CREATE TABLE reviewer (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	simulated BOOLEAN NOT NULL, 
	rule TEXT, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_reviewer PRIMARY KEY (id), 
	CONSTRAINT ck_reviewer_named CHECK (trim(name) <> ''), 
	CONSTRAINT uq_reviewer_name UNIQUE (name)
);
INSERT INTO "reviewer" VALUES(1,'Mara',0,NULL,'2026-11-21 15:44:25.154197');
CREATE TABLE snapshot (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	instructions TEXT NOT NULL, 
	folder TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	row_count INTEGER NOT NULL, 
	simulated_count INTEGER NOT NULL, 
	created_by_id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_snapshot PRIMARY KEY (id), 
	CONSTRAINT fk_snapshot_created_by_id FOREIGN KEY(created_by_id) REFERENCES reviewer (id), 
	CONSTRAINT fk_snapshot_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT uq_snapshot_project_id_sha256 UNIQUE (project_id, sha256)
);
INSERT INTO "snapshot" VALUES(1,1,'Answer in two sentences.','1-cfa89696','cfa896964a2ebd23a96d09ea3cba6d0b1d9e11c6a3879e50e813d314dbcdecc7',13,0,1,'2026-11-21 15:44:29.572995');
CREATE TABLE snapshot_left_out (
	snapshot_id INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	count INTEGER NOT NULL, 
	CONSTRAINT pk_snapshot_left_out PRIMARY KEY (snapshot_id, reason), 
	CONSTRAINT fk_snapshot_left_out_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES snapshot (id)
);
INSERT INTO "snapshot_left_out" VALUES(1,'BOTH_BAD',1);
CREATE TABLE training_run (
	id INTEGER NOT NULL, 
	project_id INTEGER NOT NULL, 
	snapshot_id INTEGER NOT NULL, 
	recipe_id INTEGER NOT NULL, 
	base_model_id INTEGER NOT NULL, 
	model_name TEXT NOT NULL, 
	model_version_id INTEGER, 
	versions JSON, 
	requested_by_id INTEGER NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	cancel_requested BOOLEAN NOT NULL, 
	attempt INTEGER NOT NULL, 
	worker TEXT, 
	process_group INTEGER, 
	process_started DOUBLE, 
	boot_id TEXT, 
	beat_at DATETIME, 
	stage TEXT NOT NULL, 
	done INTEGER NOT NULL, 
	total INTEGER NOT NULL, 
	error TEXT, 
	created_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	CONSTRAINT pk_training_run PRIMARY KEY (id), 
	CONSTRAINT fk_training_run_base_model_id FOREIGN KEY(base_model_id) REFERENCES model_version (id), 
	CONSTRAINT fk_training_run_model_version_id FOREIGN KEY(model_version_id) REFERENCES model_version (id), 
	CONSTRAINT fk_training_run_project_id FOREIGN KEY(project_id) REFERENCES project (id), 
	CONSTRAINT fk_training_run_recipe_id FOREIGN KEY(recipe_id) REFERENCES recipe (id), 
	CONSTRAINT fk_training_run_requested_by_id FOREIGN KEY(requested_by_id) REFERENCES reviewer (id), 
	CONSTRAINT fk_training_run_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES snapshot (id), 
	CONSTRAINT uq_training_run_model_version_id UNIQUE (model_version_id), 
	CONSTRAINT ck_training_run_runstatus CHECK (status IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED'))
);
INSERT INTO "training_run" VALUES(1,1,1,1,1,'Tuned',NULL,NULL,1,'FAILED',0,0,NULL,NULL,NULL,NULL,NULL,'',0,0,'The disk was full.','2026-11-21 15:44:29.584685',NULL,NULL);
CREATE TABLE training_step (
	training_run_id INTEGER NOT NULL, 
	split VARCHAR(20) NOT NULL, 
	step INTEGER NOT NULL, 
	loss DOUBLE NOT NULL, 
	reward_margin DOUBLE, 
	reward_accuracy DOUBLE, 
	logps_chosen DOUBLE, 
	logps_rejected DOUBLE, 
	learning_rate DOUBLE, 
	seconds DOUBLE, 
	CONSTRAINT pk_training_step PRIMARY KEY (training_run_id, split, step), 
	CONSTRAINT fk_training_step_training_run_id FOREIGN KEY(training_run_id) REFERENCES training_run (id), 
	CONSTRAINT ck_training_step_split CHECK (split IN ('TRAIN', 'VALIDATION'))
);
INSERT INTO "training_step" VALUES(1,'TRAIN',1,0.6931,0.0,0.0,NULL,NULL,1.0e-05,3.0);
CREATE TABLE worker (
	id TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	host TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	beat_at DATETIME NOT NULL, 
	CONSTRAINT pk_worker PRIMARY KEY (id)
);
INSERT INTO "worker" VALUES('w-1',1,'here','2026-11-21 15:44:29.640642','2026-11-21 15:44:29.640645');
CREATE INDEX ix_prompt_set_project_id ON prompt_set (project_id);
CREATE INDEX ix_responder_project_id ON responder (project_id);
CREATE INDEX ix_snapshot_project_id ON snapshot (project_id);
CREATE INDEX ix_evaluation_project_id ON evaluation (project_id);
CREATE INDEX ix_generation_run_project_id ON generation_run (project_id);
CREATE INDEX ix_generation_run_status ON generation_run (status);
CREATE INDEX ix_prompt_project_held_out ON prompt (project_id, held_out);
CREATE INDEX ix_prompt_prompt_set_id ON prompt (prompt_set_id);
CREATE INDEX ix_training_run_project_id ON training_run (project_id);
CREATE INDEX ix_training_run_snapshot_id ON training_run (snapshot_id);
CREATE INDEX ix_training_run_status ON training_run (status);
CREATE INDEX ix_comparison_project_id ON comparison (project_id);
CREATE INDEX ix_comparison_prompt_id ON comparison (prompt_id);
CREATE INDEX ix_response_generation_run_id ON response (generation_run_id);
CREATE INDEX ix_response_responder_id ON response (responder_id);
CREATE INDEX ix_comparison_response_response_id ON comparison_response (response_id);
CREATE INDEX ix_correction_response_id ON correction (response_id);
CREATE INDEX ix_ranking_reviewer_id ON ranking (reviewer_id);
CREATE INDEX ix_judgment_reviewer_id ON judgment (reviewer_id);
CREATE INDEX ix_preference_correction_id ON preference (correction_id);
CREATE INDEX ix_preference_ranking_id ON preference (ranking_id);
CREATE UNIQUE INDEX uq_ranking_standing ON ranking (comparison_id, reviewer_id, adjudicates) WHERE undone_at IS NULL;
CREATE UNIQUE INDEX uq_ranking_adjudication ON ranking (comparison_id) WHERE undone_at IS NULL AND adjudicates;
COMMIT;
