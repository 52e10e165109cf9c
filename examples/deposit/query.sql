SELECT industry, COUNT(*) AS enterprises, AVG(kwh) AS mean_kwh
FROM electricity_deposit
WHERE town IN ('莞城', '东城', '南城', '万江', '长安', '虎门', '厚街', '常平')
GROUP BY industry
