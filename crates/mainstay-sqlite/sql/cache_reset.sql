DELETE FROM entries;
DELETE FROM tag_marks;
DELETE FROM prefix_marks;
DELETE FROM meta WHERE name = 'tag_floor';
UPDATE spaces SET entries = 0, bytes = 0, mark = 0;
