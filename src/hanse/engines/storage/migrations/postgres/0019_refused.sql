-- How many events of each operator the relay refused as spam, by day since 1970. No view of the log.
CREATE TABLE refused (
    operator text COLLATE "C" NOT NULL,
    day      bigint NOT NULL,
    count    bigint NOT NULL,
    PRIMARY KEY (operator, day)
);
