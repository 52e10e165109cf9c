SELECT Salary, COUNT(*) AS people, AVG(hours_per_week) AS mean_hours, STDDEV(hours_per_week) AS spread
FROM adult
WHERE age BETWEEN 25 AND 64 AND NOT workclass IN ('Never-worked', 'Without-pay')
GROUP BY Salary
