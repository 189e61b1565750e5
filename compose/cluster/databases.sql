-- One for the write model and one for each view; runs once, when the cluster is new.
CREATE DATABASE contentmanagement;
CREATE DATABASE fts;
CREATE DATABASE activity;
