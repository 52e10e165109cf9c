SELECT town, COUNT(*) AS enterprises, SUM(kwh) AS kwh, AVG(kwh) AS mean_kwh
FROM electricity
GROUP BY town
