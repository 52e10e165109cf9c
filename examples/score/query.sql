SELECT industry, COUNT(*) AS enterprises, SCORE(kwh, peak_kwh, employees) AS risk
FROM electricity_risk
GROUP BY industry
