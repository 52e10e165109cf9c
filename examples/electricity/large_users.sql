SELECT industry AS "行业", COUNT(DISTINCT enterprise_id) AS "企业数", AVG(peak_kwh) AS "平均峰时用电"
FROM electricity
WHERE kwh >= 100000 AND town IN ('长安', '虎门', '厚街')
GROUP BY industry
