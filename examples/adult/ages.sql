SELECT sex, HISTOGRAM(age, 8) AS age
FROM adult
WHERE native_country <> 'United-States'
GROUP BY sex
