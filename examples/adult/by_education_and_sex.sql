SELECT education, sex, COUNT(*) AS people, SUM(hours_per_week) AS hours, AVG(age) AS mean_age
FROM adult
GROUP BY education, sex
