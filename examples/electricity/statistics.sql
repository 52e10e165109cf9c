SELECT QUANTILE(kwh, 0.5) AS "用电中位数", CORR(kwh, employees) AS "相关系数", LINREG(kwh, employees) AS "用电回归"
FROM electricity
