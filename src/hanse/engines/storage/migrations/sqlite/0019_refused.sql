-- How many events of each operator the relay refused as spam, by day since 1970. No view of the log.
CREATE TABLE refused (
    operator TEXT NOT NULL,
    day      INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (operator, day)
) STRICT, WITHOUT ROWID;
