-- What a release that ran to its end showed of its application's warm-up, as
-- JSON; nothing of releases from before, and of those that ended otherwise.
ALTER TABLE releases ADD COLUMN warm_up_lesson TEXT;
CREATE INDEX releases_by_application ON releases (application, ended_at);
